# Completion of walt for bash. `walt __complete` does the work: one candidate per line,
# followed by a tab and its description if it has one.

_walt() {
    local line=${COMP_LINE:0:COMP_POINT}
    local -a words candidates=() shown=()
    read -ra words <<<"$line"
    case $line in
        *[[:space:]]) words+=("") ;;
    esac
    local current=${words[${#words[@]} - 1]}
    local candidate description
    while IFS=$'\t' read -r candidate description; do
        candidates+=("$candidate")
        if [ -n "$description" ]; then
            shown+=("$candidate -- $description")
        else
            shown+=("$candidate")
        fi
    done < <(walt __complete "${words[@]:1}" 2>/dev/null)
    # bash breaks words at some punctuation (":" and "="): only what follows it is to be inserted.
    local broken=${COMP_WORDS[COMP_CWORD]}
    case $broken in
        [:=]*) broken=${broken#?} ;;
    esac
    local prefix=${current%"$broken"}
    COMPREPLY=()
    if [ ${#candidates[@]} -eq 1 ]; then
        COMPREPLY=("${candidates[0]#"$prefix"}")
        case ${candidates[0]} in
            *[:/=]) compopt -o nospace 2>/dev/null ;;
        esac
        return
    fi
    # Several candidates: what they share is inserted; once nothing more is shared, they are listed
    # with their descriptions, one per line.
    local shared=${candidates[0]} other
    for other in "${candidates[@]}"; do
        while [ "${other#"$shared"}" = "$other" ] && [ -n "$shared" ]; do
            shared=${shared%?}
        done
    done
    if [ "${#shared}" -gt "${#current}" ] || [ "$COMP_TYPE" != 63 ]; then
        for other in "${candidates[@]}"; do
            COMPREPLY+=("${other#"$prefix"}")
        done
        return
    fi
    local width=${COLUMNS:-80}
    for other in "${shown[@]}"; do
        if [ "$other" != "${other/ -- /}" ]; then
            printf -v other '%-*s' "$width" "$other"
        else
            other=${other#"$prefix"}
        fi
        COMPREPLY+=("$other")
    done
}

complete -F _walt walt
