mkdir t sub && echo x > t/x && echo y > t/y && chmod 644 t/*
tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf a.tar x
tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf sub/b.tar y && rm -r t && ln -s a.tar link
