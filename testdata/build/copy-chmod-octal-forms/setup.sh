ln -s x tree/sub/link
