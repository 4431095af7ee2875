/* Fuzzes the reader of JSON that others wrote: a second reader, which keeps its place in a stack of its own and knows nothing of the
 * first, must take the same texts; and in what is taken, every value is found, and is what it is. */
#include <stdbool.h>
#include <string.h>

#include "base/json_read.h"
#include "require.h"

/* The second reader */

struct text {
    const char *at, *end;
};

static int peek(const struct text *text)
{
    return text->at < text->end ? (unsigned char)*text->at : -1;
}

static bool eat(struct text *text, const char *any)
{
    int next = peek(text);
    bool is = next > 0 && strchr(any, next);
    text->at += is;
    return is;
}

static void eat_space(struct text *text)
{
    while (eat(text, " \t\r\n"))
        continue;
}

static unsigned eat_digits(struct text *text)
{
    unsigned count = 0;
    while (eat(text, "0123456789"))
        count++;
    return count;
}

static bool eat_number(struct text *text)
{
    eat(text, "-");
    const char *start = text->at;
    unsigned digits = eat_digits(text);
    if (digits == 0 || (digits > 1 && *start == '0'))
        return false;
    if (eat(text, ".") && eat_digits(text) == 0)
        return false;
    if (!eat(text, "eE"))
        return true;
    eat(text, "+-");
    return eat_digits(text) > 0;
}

static bool eat_word(struct text *text, const char *word)
{
    for (; *word; word++)
        if (peek(text) != *word)
            return false;
        else
            text->at++;
    return true;
}

static bool eat_string(struct text *text)
{
    if (!eat(text, "\""))
        return false;
    while (peek(text) != '"') {
        if (peek(text) < ' ')
            return false; /* a control character, or the end */
        bool escape = peek(text) == '\\';
        text->at++;
        if (!escape)
            continue;
        bool hex = peek(text) == 'u';
        if (!eat(text, "\"\\/bfnrtu"))
            return false;
        for (int i = 0; hex && i < 4; i++)
            if (!eat(text, "0123456789abcdefABCDEF"))
                return false;
    }
    text->at++;
    return true;
}

static bool eat_scalar(struct text *text)
{
    switch (peek(text)) {
    case '"':
        return eat_string(text);
    case 't':
        return eat_word(text, "true");
    case 'f':
        return eat_word(text, "false");
    case 'n':
        return eat_word(text, "null");
    default:
        return eat_number(text);
    }
}

static bool eat_name(struct text *text)
{
    eat_space(text);
    if (!eat_string(text))
        return false;
    eat_space(text);
    return eat(text, ":");
}

/* Behind a value: closes what ends there. Returns false when that makes no sense; *depth is 0 at the end, and *more when another value
 * must follow. */
static bool eat_ends(struct text *text, const char *open, unsigned *depth, bool *more)
{
    for (*more = false; *depth > 0; --*depth) {
        eat_space(text);
        if (eat(text, ",")) {
            *more = true;
            return open[*depth - 1] == '[' || eat_name(text);
        }
        if (!eat(text, open[*depth - 1] == '[' ? "]" : "}"))
            return false;
    }
    return true;
}

static bool second_is_valid(struct text text)
{
    char open[JSON_DEPTH_MAX];
    unsigned depth = 0;
    bool more = true;
    while (more) {
        eat_space(&text);
        int kind = peek(&text);
        bool nests = kind == '{' || kind == '[';
        if (nests && depth == JSON_DEPTH_MAX)
            return false;
        if (nests) {
            open[depth++] = (char)kind;
            text.at++;
            eat_space(&text);
            if (peek(&text) == (kind == '{' ? '}' : ']')) {
                text.at++;
                depth--;
            } else if (kind == '{' && !eat_name(&text))
                return false;
            else
                continue;
        } else if (!eat_scalar(&text))
            return false;
        if (!eat_ends(&text, open, &depth, &more))
            return false;
    }
    eat_space(&text);
    return text.at == text.end;
}

/* What is in it */

static bool inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_scalar(struct slice value)
{
    char out[16];
    double number = json_to_number(value, -1);
    bool is_string = *value.data == '"', is_word = strchr("tfn", *value.data);
    memset(out, 'x', sizeof out);
    require(json_to_string(value, out, 8) == out && strnlen(out, 8) < 8 && out[8] == 'x');
    require(!*out || is_string);
    require(number == -1 ||
            (!is_string && !is_word)); /* NaN does not come about: it is not itself */
    require(json_is_true(value) == (*value.data == 't'));
}

static void check_value(struct slice value, unsigned depth);

static void check_members(struct slice value, unsigned depth)
{
    struct slice rest = json_inside(value), name, member;
    while (json_next(&rest, &name, &member)) {
        require(inside(member, value) && member.len > 0);
        require(*value.data == '{' ? inside(name, value) : name.len == 0);
        check_value(member, depth + 1);
    }
    rest.len = rest.data ? rest.len : 0;
    require(rest.len >= 1);
}

static void check_value(struct slice value, unsigned depth)
{
    require(json_is_valid(value));
    struct slice found;
    if (*value.data == '{' || *value.data == '[') {
        require(depth < JSON_DEPTH_MAX);
        check_members(value, depth);
        if (json_find(value, "a.b", &found))
            require(inside(found, value) && json_is_valid(found));
    } else {
        require(json_inside(value).len == 0);
        check_scalar(value);
    }
}

static struct slice value_of(struct slice text)
{
    while (strchr(" \t\r\n", *text.data))
        text = (struct slice){text.data + 1, text.len - 1};
    while (strchr(" \t\r\n", text.data[text.len - 1]))
        text.len--;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    bool valid = json_is_valid(text);
    require(valid == second_is_valid((struct text){text.data, text.data + size}));
    if (valid && size < 4096) /* else the checks inside of checks take too long */
        check_value(value_of(text), 0);
    return 0;
}
