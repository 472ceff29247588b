/* posix_memalign with memory after each block that can be read and not written: a write beyond it is a SIGSEGV. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define SLOTS (1u << 18)
#define PAGE ((size_t)4096)
#define GUARD ((size_t)1 << 20)
#define NONE ((uintptr_t)0)
#define FREED ((uintptr_t)1)

static struct {
    uintptr_t block;
    void *base;
    size_t length;
} table[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*real_free)(void *);

static uint32_t slot_of(uintptr_t block) { return (uint32_t)((block * 0x9E3779B97F4A7C15ull) >> 46) & (SLOTS - 1); }

int posix_memalign(void **out, size_t alignment, size_t size) {
    size_t body = size ? (size + PAGE - 1) / PAGE * PAGE : PAGE, length = PAGE + body + GUARD;
    if (alignment > PAGE) return ENOMEM;
    char *base = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return ENOMEM;
    mprotect(base, PAGE, PROT_READ);
    mprotect(base + PAGE + body, GUARD, PROT_READ);
    uintptr_t block = ((uintptr_t)base + PAGE + body - size) & ~(uintptr_t)(alignment - 1);
    memset((void *)block, 0xFF, size < 65536 ? size : 65536); /* what is read before it is written is not a number */
    pthread_mutex_lock(&lock);
    uint32_t slot = slot_of(block);
    while (table[slot].block > FREED) slot = (slot + 1) & (SLOTS - 1);
    table[slot].block = block;
    table[slot].base = base;
    table[slot].length = length;
    pthread_mutex_unlock(&lock);
    *out = (void *)block;
    return 0;
}

void free(void *pointer) {
    uintptr_t block = (uintptr_t)pointer;
    if (!pointer) return;
    pthread_mutex_lock(&lock);
    for (uint32_t slot = slot_of(block); table[slot].block != NONE; slot = (slot + 1) & (SLOTS - 1)) {
        if (table[slot].block != block) continue;
        void *base = table[slot].base;
        size_t length = table[slot].length;
        table[slot].block = FREED;
        pthread_mutex_unlock(&lock);
        munmap(base, length);
        return;
    }
    pthread_mutex_unlock(&lock);
    if (!real_free) real_free = dlsym(RTLD_NEXT, "free");
    real_free(pointer);
}
