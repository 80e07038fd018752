package com.acme;

/** The code that one order keeps busy for ever. */
final class OrderPricer {
    private OrderPricer() {}

    static double price(long order) {
        return recalculate(order) * 1.19;
    }

    static double recalculate(long order) {
        double total = order;
        while (Stage.hot) { total = total * 1.0000001 + Math.sqrt(total + order); } // HOT
        return total;
    }
}
