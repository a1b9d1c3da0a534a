FROM busybox
ONBUILD ENV A=a\b B="c\d"
ONBUILD RUN echo "a\\b" 'c\' > /trigger
