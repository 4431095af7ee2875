# shellcheck shell=bash
# Completion of velour-fog for bash. What is offered is what the program's --help says, so that it is never behind.

# The addresses that there are to choose from: those in the variables of the options, and the default one.
_velour_fog_addresses() {
    local name
    for name in "${!VELOUR_FOG_@}"; do
        tr -s ' \t,;' '\n' <<<"${!name}"
    done | grep -E '^[^/]+:[0-9]+$' | sort -u
    echo localhost:8000
}

# What may stand where --help has this word; nothing where only the user can know.
_velour_fog_values() {
    case $1 in
    HOST:PORT | MEMBERS) _velour_fog_addresses ;;
    FILE) compgen -f -- "$2" ;;
    LEVEL) printf '%s\n' error warn info debug ;;
    YES/NO) printf '%s\n' yes no ;;
    WHERE) printf '%s\n' any home ;;
    esac
}

_velour_fog() {
    local line=${COMP_LINE:0:COMP_POINT} help commands typed='' lead='' wanted='' offered name place=1 word
    local -a words places
    local -A takes=()

    # Words by blanks alone: bash also breaks them at the colons of addresses.
    read -ra words <<<"$line"
    while [ "${#words[@]}" -gt 1 ] && [ "${words[0]}" != "$1" ]; do words=("${words[@]:1}"); done
    if [[ $line != *[[:space:]] ]]; then
        typed=${words[-1]}
        words=("${words[@]:0:${#words[@]}-1}")
    fi
    words=("${words[@]:1}")

    help=$("$1" --help 2>/dev/null </dev/null) || return
    # Those that are named in the first lines, as 'velour-fog one --help' or after a colon.
    commands="node $(sed -nE '/^$/q; /^ / { s/velour-fog|--help|^.*:|[,|]/ /g; p; }' <<<"$help" | xargs)"
    offered=$commands
    if [ "${#words[@]}" -gt 0 ]; then
        offered=
        if [[ " $commands " == *" ${words[0]} "* ]]; then
            help=$("$1" "${words[0]}" --help 2>/dev/null </dev/null) || return
            words=("${words[@]:1}")
        fi
    fi
    while IFS= read -r word; do
        if [[ $word =~ ^'  --'([a-z-]+)(' '([A-Z][A-Z:/]*))?' ' ]]; then
            takes[--${BASH_REMATCH[1]}]=${BASH_REMATCH[3]}
        fi
    done <<<"$help"
    read -ra places < <(sed -nE '1 { s/^Usage: velour-fog [^ ]+//; s/\[OPTION\].*//; s/--[a-z-]+ [^ ]+//g; p; }' <<<"$help")

    # What the word that is typed stands for: an option's value, or the next of the places.
    place=0
    for word in "${words[@]}"; do
        if [ -n "$wanted" ]; then
            wanted=
        elif [[ $word == --* ]]; then
            wanted=${takes[${word}]-}
        else
            place=$((place + 1))
        fi
    done
    if [ -z "$wanted" ] && [[ $typed == --*=* ]]; then
        name=${typed%%=*}
        typed=${typed#*=}
        wanted=${takes[$name]-}
        offered=
    elif [ -n "$wanted" ]; then
        offered=
    else
        wanted=${places[place]-}
        offered="$offered ${!takes[*]} --help --version"
        # One that may be left out: then it is the next one already.
        if [[ $wanted == \[*\] ]]; then wanted="${wanted//[\[\]]/} ${places[place + 1]-}"; fi
    fi

    # Of several addresses, it is the last one.
    if [[ $wanted == MEMBERS* || $wanted == HOST:PORT* ]] && [[ $typed == *,* ]]; then
        lead=${typed%,*},
        typed=${typed##*,}
    fi
    if [[ $wanted == *FILE ]]; then compopt -o filenames 2>/dev/null; fi
    mapfile -t COMPREPLY < <(
        compgen -P "$lead" -W "$offered" -- "$typed"
        for word in $wanted; do _velour_fog_values "$word" "$typed"; done | while IFS= read -r word; do
            if [[ $word == "$typed"* ]]; then printf '%s\n' "$lead$word"; fi
        done
    )
    # Bash puts back what is before the last colon.
    if [[ $COMP_WORDBREAKS == *:* && $lead$typed == *:* ]]; then
        lead=$lead$typed
        COMPREPLY=("${COMPREPLY[@]#"${lead%"${lead##*:}"}"}")
    fi
}

complete -F _velour_fog velour-fog
