FROM busybox
HEALTHCHECK --interval=7s CMD ["base"]
