#!/bin/sh
# Print the first Python that can carry partita: 3.11 or newer, with venv. Nothing, if there is none.
for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$python"
        exit 0
    fi
done
exit 1
