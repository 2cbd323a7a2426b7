
set edit:completion:arg-completer[iotstream] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) IOTSTREAM_COMPLETE="elvish" iotstream -- $@words) | to-lines
}

