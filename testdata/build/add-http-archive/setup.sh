mkdir t && echo x > t/x && chmod 644 t/x && tar -C t --mtime=@1500000000 --owner=3 --group=4 -czf www/a.tar.gz x && cp www/a.tar.gz . && rm -r t
