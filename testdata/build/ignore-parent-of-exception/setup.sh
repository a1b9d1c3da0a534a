chmod 751 deep && chmod 1770 deep/er
