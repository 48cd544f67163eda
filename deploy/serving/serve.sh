#!/bin/sh
# The image's first process: starts tensorflow_model_server with the arguments that it gets, and
# hands signals on to it.
#
# TF Serving has no handler for SIGTERM, and the kernel does not end a container's first process
# by a signal that it has no handler for: as the first process it would not end until it is killed.
# As a child of this one it ends at once.
pid= asked=
trap 'asked=1; [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null' TERM INT HUP QUIT
tensorflow_model_server "$@" &
pid=$!
[ -z "$asked" ] || kill -TERM "$pid" 2>/dev/null
wait "$pid"
code=$?
while kill -0 "$pid" 2>/dev/null; do # a signal has cut the wait short
    wait "$pid"
    code=$?
done
exit "$code"
