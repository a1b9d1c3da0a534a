mkdir d
mknod -m 600 d/null c 1 3
mknod -m 644 d/kept c 5 1
mknod d/loop b 7 0
mkfifo -m 604 d/fifo
tar -C d -cf devices.tar .
rm -r d
