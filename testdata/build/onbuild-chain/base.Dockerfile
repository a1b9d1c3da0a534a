FROM busybox
ONBUILD RUN echo first > /first
