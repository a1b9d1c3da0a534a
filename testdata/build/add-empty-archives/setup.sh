: > zero; gzip -nc < zero > empty.tar.gz; head -c 10240 /dev/zero > blocks.tar
