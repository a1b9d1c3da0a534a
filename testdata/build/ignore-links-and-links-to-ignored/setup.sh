ln -s target link && ln -s dir dirlink && ln -s missing dangling
