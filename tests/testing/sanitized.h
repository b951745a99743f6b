// Whether a sanitizer with an allocator of its own is built in: GCC says so by a macro, Clang where
// it is asked.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SMELT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SMELT_SANITIZED 1
#endif
#endif
#ifndef SMELT_SANITIZED
#define SMELT_SANITIZED 0
#endif
