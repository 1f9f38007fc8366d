package main

type section struct {
	name   string
	checks func() []check
}

var sections = []section{
	{"saving", saving},
	{"conditions", conditions},
	{"races", races},
	{"retries", retries},
	{"matching", matching},
	{"reading", reading},
	{"latest", latestChecks},
	{"subscriptions", subscriptions},
	{"durable", durable},
	{"indexes", indexes},
	{"invalid", invalid},
	{"limits", limits},
	{"access", access},
	{"users", users},
	{"server", server},
}
