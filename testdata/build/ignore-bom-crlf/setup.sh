{ printf '\357\273\277'; cat .dockerignore; } > d && sed 's/$/\r/' d > .dockerignore && rm d
