/** Nominal types: values that must not mix carry a brand that only their constructor applies. */

declare const brand: unique symbol;

/** `T` that went through the constructor called `Name`. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
