/* The queue in memory does what every queue must do. */
#include "queue_suite.h"

int main(void)
{
	static const struct queue_suite suite = {
		.name = "memory queue",
		.make = hbt_memory_queue_new,
	};

	return queue_suite_run(&suite);
}
