mkdir t && echo x > t/x && chmod 644 t/x && tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf a.tar x && rm -r t
