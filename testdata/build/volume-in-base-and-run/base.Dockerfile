FROM busybox
RUN mkdir /data && echo base > /data/base && echo kept > /data/kept
VOLUME /data
