printf '%s' "$(cat Dockerfile)" > d && mv d Dockerfile
