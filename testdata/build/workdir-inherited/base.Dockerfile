FROM busybox
USER dev
WORKDIR /from/base
