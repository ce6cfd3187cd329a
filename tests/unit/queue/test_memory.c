/* The queue in memory does what every queue must do. */
#include "queue_suite.h"

int main(void)
{
	return queue_suite_run("memory queue", hbt_memory_queue_new);
}
