// SPDX-License-Identifier: Apache-2.0
//
// Threads that run jobs. One lock, two lists: jobs are long (tens of microseconds and more), so contention is not what costs here.
#include "engine/ring/ring_impl.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>

void br_job_list_push(struct br_job_list *list, struct br_job *job)
{
    job->next = NULL;
    if (list->tail) {
        list->tail->next = job;
    } else {
        list->head = job;
    }
    list->tail = job;
}

struct br_job *br_job_list_pop(struct br_job_list *list)
{
    struct br_job *job = list->head;

    if (job) {
        list->head = job->next;
        if (!list->head) {
            list->tail = NULL;
        }
    }
    return job;
}

static void br_pool_ring_bell(struct br_pool *pool)
{
    uint64_t one = 1;
    ssize_t written;

    // Fails only with EAGAIN, when the counter is full: then the bell is ringing anyway.
    do {
        written = write(pool->bell_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
}

static void *br_pool_thread(void *arg)
{
    struct br_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->todo.head && !pool->stop) {
            pthread_cond_wait(&pool->more, &pool->lock);
        }
        if (pool->stop) {
            break;
        }
        struct br_job *job = br_job_list_pop(&pool->todo);
        pthread_mutex_unlock(&pool->lock);
        job->run(job);
        pthread_mutex_lock(&pool->lock);
        bool first = !pool->done.head;
        br_job_list_push(&pool->done, job);
        if (first) {
            br_pool_ring_bell(pool);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int br_pool_start(struct br_pool *pool, unsigned count, int bell_fd, struct br_err *reterr)
{
    sigset_t all;
    sigset_t before;
    int failed = 0;

    assert(count >= 1 && count <= BR_RING_WORKERS_MAX && !pool->count);
    *pool = (struct br_pool){.bell_fd = bell_fd};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    // Signals are the ring thread's business: workers are born with all of them blocked.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->count < count && !failed) {
        failed = pthread_create(&pool->threads[pool->count], NULL, br_pool_thread, pool);
        pool->count += !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!pool->count) {
        pthread_mutex_destroy(&pool->lock);
        pthread_cond_destroy(&pool->more);
        return br_err_os(reterr, failed, "cannot start a worker thread");
    }
    return 0; // fewer than asked for is slower, not wrong
}

void br_pool_stop(struct br_pool *pool)
{
    if (!pool->count) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->more);
    pool->count = 0;
}

void br_pool_queue(struct br_pool *pool, struct br_job *job)
{
    pthread_mutex_lock(&pool->lock);
    br_job_list_push(&pool->todo, job);
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&pool->lock);
}

struct br_job *br_pool_take(struct br_pool *pool)
{
    if (!pool->count) {
        return NULL;
    }
    pthread_mutex_lock(&pool->lock);
    struct br_job *jobs = pool->done.head;
    pool->done = (struct br_job_list){0};
    pthread_mutex_unlock(&pool->lock);
    return jobs;
}

bool br_pool_ready(struct br_pool *pool)
{
    if (!pool->count) {
        return false;
    }
    pthread_mutex_lock(&pool->lock);
    bool ready = pool->done.head != NULL;
    pthread_mutex_unlock(&pool->lock);
    return ready;
}
