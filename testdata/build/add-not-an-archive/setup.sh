echo compressed | gzip -nc > text.gz
