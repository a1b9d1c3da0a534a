mkdir -p t/d t/l t/dir-was-file && echo new > t/d/f && echo in > t/l/in && echo now > t/file-was-dir && echo x > t/dir-was-file/x && chmod 755 t/d t/l t/dir-was-file && chmod 644 t/*/* t/file-was-dir
tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf a.tar d l dir-was-file file-was-dir && rm -r t
