complete --keep-order --exclusive --command iotstream --arguments "(IOTSTREAM_COMPLETE=fish iotstream -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
