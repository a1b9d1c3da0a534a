FROM busybox
LABEL base=1 shared=base
