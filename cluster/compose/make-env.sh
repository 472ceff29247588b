#!/bin/sh
# Write .env from .env.example, with a new random secret for each GENERATE, readable by you only. Nothing to change.
#
#   sh cluster/compose/make-env.sh
#
# An existing .env stays as it is: the volumes of PostgreSQL and of the store keep the passwords of their first start.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
  echo "$PWD/.env exists; remove it, and the volumes (docker compose down --volumes), to make new secrets" >&2
  exit 1
fi
umask 077
made=$(mktemp .env.XXXXXX)
trap 'rm -f "$made"' EXIT
while IFS= read -r line; do
  case $line in
    *=GENERATE) printf '%s%s\n' "${line%GENERATE}" "$(openssl rand -hex 32)" ;;
    *) printf '%s\n' "$line" ;;
  esac
done < .env.example > "$made"
mv "$made" .env
echo "wrote $PWD/.env"
