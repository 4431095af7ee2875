#include "role/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void command_end(struct command *command, enum command_exit exit)
{
    if (!command->over)
        command->exit = exit;
    command->over = true;
    command->loop->stopped = true;
}

void command_fail(struct command *command, enum command_exit exit, const char *format, ...)
{
    va_list arguments;
    if (command->over)
        return;
    va_start(arguments, format);
    vsnprintf(command->failure, sizeof command->failure, format, arguments);
    va_end(arguments);
    for (char *at = command->failure; *at; at++) /* it may repeat what a stranger has said */
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    command_end(command, exit);
}

void command_print(struct command *command, const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    command->print(command->context, text);
    free(text);
}
