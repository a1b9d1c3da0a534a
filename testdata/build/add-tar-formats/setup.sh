n=$(printf 'n%.0s' $(seq 90)); mkdir -p t/$n/$n && echo long > t/$n/$n/file && echo s > t/short && chmod 755 t/$n t/$n/$n && chmod 644 t/short t/$n/$n/file
for f in gnu pax oldgnu; do tar -C t --format=$f --mtime=@1500000000 --owner=5 --group=6 -cf $f.tar short $n; done
tar -C t --format=ustar --mtime=@1500000000 --owner=5 --group=6 -cf ustar.tar short $n
tar -C t --format=v7 --mtime=@1500000000 --owner=5 --group=6 -cf v7.tar short
rm -r t
