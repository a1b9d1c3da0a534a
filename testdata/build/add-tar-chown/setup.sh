mkdir -p t/d && echo 1 > t/d/x && ln -s x t/d/link
tar -C t --mtime=@1500000000 --owner=1 --group=2 -cf a.tar d && rm -r t
