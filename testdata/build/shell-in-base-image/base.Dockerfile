FROM busybox
SHELL ["/bin/sh", "-exc"]
