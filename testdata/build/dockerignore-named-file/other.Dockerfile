FROM busybox
COPY . /named/
