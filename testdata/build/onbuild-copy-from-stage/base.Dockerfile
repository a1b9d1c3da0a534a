FROM busybox
ONBUILD COPY --from=data /data /from-data
