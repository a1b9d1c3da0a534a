ln -s /d abs
