mkdir -p tree/empty tree/nested/empty && chmod 700 tree/empty
