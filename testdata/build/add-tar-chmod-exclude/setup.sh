mkdir t && echo 1 > t/x.md && echo 2 > t/y && chmod 644 t/*
tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf a.tar x.md y && rm -r t
