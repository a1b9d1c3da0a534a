FROM busybox
ONBUILD COPY missing /x
