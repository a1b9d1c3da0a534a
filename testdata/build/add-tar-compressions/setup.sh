mkdir t && seq 1000 > t/x && chmod 644 t/x && tar -C t --mtime=@1500000000 --owner=0 --group=0 -cf a.tar x
gzip -nk a.tar; bzip2 -k a.tar; xz -k a.tar; zstd -q a.tar; cp a.tar.gz name.zip; gzip -nc t/x > single.gz
printf 'PK\003\004not a tar' > zip.tar; rm -r t
