FROM busybox
ENV FROM_BASE=1
WORKDIR /base
USER dev
LABEL base=yes
EXPOSE 99
VOLUME /v
CMD ["base-cmd"]
ENTRYPOINT ["base-entry"]
SHELL ["/bin/sh", "-ec"]
STOPSIGNAL SIGQUIT
HEALTHCHECK CMD true
ONBUILD USER root
ONBUILD COPY a /onbuild-a
ONBUILD RUN echo fired > /fired
