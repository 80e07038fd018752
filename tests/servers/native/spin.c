/* A hot function with a name. */
static volatile unsigned long sum;

__attribute__((noinline)) void spin_here(void)
{
    for (unsigned long i = 0; i < 20000000UL; i++)
        sum += i * i;
}

int main(void)
{
    for (;;)
        spin_here();
}
