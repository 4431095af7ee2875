/* The program's version, in one place. */
#ifndef VERSION_H
#define VERSION_H

#define VELOUR_FOG_VERSION "0.1.0"

#endif
