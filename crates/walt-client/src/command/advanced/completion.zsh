#compdef walt
# Completion of walt for zsh. `walt __complete` does the work: one candidate per line,
# followed by a tab and its description if it has one.

_walt() {
    local -a open open_shown closed closed_shown
    local line candidate description
    for line in "${(@f)$(walt __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        candidate=${line%%$'\t'*}
        description=${line#*$'\t'}
        if [[ $line == *$'\t'* ]]; then
            description="$candidate -- $description"
        else
            description=$candidate
        fi
        if [[ $candidate == *[:/=] ]]; then
            open+=("$candidate")
            open_shown+=("$description")
        else
            closed+=("$candidate")
            closed_shown+=("$description")
        fi
    done
    (( ${#open} )) && compadd -Q -S '' -l -d open_shown -- "${open[@]}"
    (( ${#closed} )) && compadd -Q -l -d closed_shown -- "${closed[@]}"
    return 0
}

if [[ ${funcstack[1]} == _walt ]]; then
    _walt "$@"
elif (( ${+functions[compdef]} )); then
    compdef _walt walt
fi
