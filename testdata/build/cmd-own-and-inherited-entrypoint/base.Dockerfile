FROM busybox
ENTRYPOINT ["/bin/echo", "base"]
CMD ["base-cmd"]
