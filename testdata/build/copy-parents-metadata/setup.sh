chmod 711 d && chmod 750 d/sub && chmod 1777 d/other
