// Stands in for Jittor's header: the pool that scratch memory comes from.
#pragma once
#include <cstddef>
#include <cstdlib>

namespace jittor {

struct Pool {
    void* alloc(size_t bytes, size_t& allocation) { allocation = bytes; return std::malloc(bytes); }
    void free(void* at, size_t bytes, size_t allocation) { if (bytes == allocation) std::free(at); }
};

struct Executor { Pool pool, *temp_allocator = &pool; };
static Executor exe;

}  // namespace jittor
