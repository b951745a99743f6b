#pragma once

/// Everything in libsmelt is hidden except what carries this.
#define SMELT_EXPORT __attribute__((visibility("default")))
