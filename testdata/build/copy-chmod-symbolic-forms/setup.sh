chmod 755 tree/run && ln -s file tree/link
