{ printf '\357\273\277'; cat Dockerfile; } > d && mv d Dockerfile
